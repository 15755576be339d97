#include "nibble/models/builtin.h"
