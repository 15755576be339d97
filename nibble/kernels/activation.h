// nibble/kernels/activation.h
#pragma once
