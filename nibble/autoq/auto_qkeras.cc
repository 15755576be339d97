#include "nibble/autoq/auto_qkeras.h"
