#include "nibble/kernels/affine_activation.h"
