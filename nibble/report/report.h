// nibble/report/report.h
#pragma once
