// nibble/models/builtin.h
#pragma once
