#include "nibble/kernels/weight_quantizer.h"
