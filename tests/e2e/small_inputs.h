#pragma once

#include <cstdio>
#include <string>
#include <vector>

/// Contents of inputs that take next to no time.
namespace reelfolio::test {

/// A picture of one colour, as PPM.
inline std::string picture(int number) {
  std::string text = "P6\n24 16\n255\n";
  for (int i = 0; i < 24 * 16; ++i) {
    text += static_cast<char>(number * 7);
    text += static_cast<char>(number * 13);
    text += static_cast<char>(number * 29);
  }
  return text;
}

/// A PDF of `pages` empty pages, numbered so that no two files are the same.
inline std::string document(int number, int pages) {
  std::vector<std::string> objects = {"<< /Type /Catalog /Pages 2 0 R >>", ""};
  std::string kids;
  for (int i = 0; i < pages; ++i) {
    kids += std::to_string(i + 3) + " 0 R ";
    objects.push_back("<< /Type /Page /Parent 2 0 R /MediaBox [0 0 " + std::to_string(100 + number) +
                      " 80] >>");
  }
  objects[1] = "<< /Type /Pages /Kids [" + kids + "] /Count " + std::to_string(pages) + " >>";
  std::string text = "%PDF-1.4\n";
  std::string table = "xref\n0 " + std::to_string(objects.size() + 1) + "\n0000000000 65535 f \n";
  for (std::size_t i = 0; i < objects.size(); ++i) {
    char entry[32];
    std::snprintf(entry, sizeof entry, "%010zu 00000 n \n", text.size());
    table += entry;
    text += std::to_string(i + 1) + " 0 obj\n" + objects[i] + "\nendobj\n";
  }
  const std::size_t start = text.size();
  return text + table + "trailer << /Size " + std::to_string(objects.size() + 1) +
         " /Root 1 0 R >>\nstartxref\n" + std::to_string(start) + "\n%%EOF\n";
}

}  // namespace reelfolio::test
