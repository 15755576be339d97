#include "nibble/formats/keras/keras_file.h"
