#include "nibble/kernels/activation.h"
