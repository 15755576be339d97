#include "nibble/data/dataset.h"
