// CMake writes a target's precompiled header only where one of its sources uses it;
// catch_main.cpp cannot.
#include "tests/support/precompiled.h"
