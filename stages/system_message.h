#pragma once

#include <string>

namespace reelfolio::stages {

/// What the system says about an errno value, with a small first letter ("no such file or
/// directory", but "I/O error"). Any thread.
std::string system_message(int error);

}  // namespace reelfolio::stages
