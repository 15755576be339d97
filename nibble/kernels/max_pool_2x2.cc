#include "nibble/kernels/max_pool_2x2.h"
