// nibble/cost/energy.h
#pragma once
