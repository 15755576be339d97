// nibble/autoq/auto_qkeras.h
#pragma once
