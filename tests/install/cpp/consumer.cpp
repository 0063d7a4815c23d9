// Uses the library as a stranger does: public headers and the target kvcache::kvcache alone.
#include <iostream>
#include <kvcache/kvcache.hpp>

int main() {
  try {
    const kvcache::Model model = kvcache::Model::load("no such directory");
  } catch (const kvcache::Error& error) {
    std::cout << kvcache::error_code_name(error.code()) << '\n';
  }
}
