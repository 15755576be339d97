#include "nibble/quant/quantizer.h"
