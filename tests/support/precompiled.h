#pragma once
/// Compiled once for all tests (tests/CMakeLists.txt): each of these headers takes seconds.
/// Tests include what they use all the same.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/catch.h"
