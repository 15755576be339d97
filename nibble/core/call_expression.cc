#include "nibble/core/call_expression.h"
