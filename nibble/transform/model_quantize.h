// nibble/transform/model_quantize.h
#pragma once
