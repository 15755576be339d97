#include "nibble/search/study.h"
