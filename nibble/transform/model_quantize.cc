#include "nibble/transform/model_quantize.h"
