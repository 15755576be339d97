#include "nibble/report/report.h"
