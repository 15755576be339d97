#include "nibble/train/trainer.h"
