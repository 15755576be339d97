#include "nibble/graph/model.h"
