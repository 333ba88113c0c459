#include "stages/system_message.h"

#include <system_error>

namespace reelfolio::stages {

std::string system_message(int error) {
  // Not strerror: it shares one buffer between threads.
  std::string message = std::generic_category().message(error);
  if (message.size() > 1 && message[0] >= 'A' && message[0] <= 'Z' && message[1] >= 'a' &&
      message[1] <= 'z') {
    message[0] = static_cast<char>(message[0] - 'A' + 'a');
  }
  return message;
}

}  // namespace reelfolio::stages
