#include "nibble/cost/energy.h"
