// Uses the library as a stranger does: public headers and the target kvcache::kvcache alone. What
// the library throws is caught here, as its own type.
#include <iostream>
#include <kvcache/error.hpp>
#include <kvcache/model.hpp>

int main() {
  try {
    kvcache::Model::load("/no/such/model");
  } catch (const kvcache::Error& error) {
    std::cout << kvcache::error_code_name(error.code()) << '\n';
  }
}
