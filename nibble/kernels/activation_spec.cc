#include "nibble/kernels/activation_spec.h"
