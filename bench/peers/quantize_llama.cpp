// Writes a GGUF file in a narrower type, as llama.cpp's own llama-quantize does.
#include <llama.h>

#include <cstdio>
#include <cstring>
#include <map>
#include <string>

int main(int argc, char** argv) {
  const std::map<std::string, llama_ftype> types{{"F16", LLAMA_FTYPE_MOSTLY_F16},
                                                 {"Q8_0", LLAMA_FTYPE_MOSTLY_Q8_0},
                                                 {"Q4_0", LLAMA_FTYPE_MOSTLY_Q4_0},
                                                 {"Q4_1", LLAMA_FTYPE_MOSTLY_Q4_1},
                                                 {"Q4_K_M", LLAMA_FTYPE_MOSTLY_Q4_K_M}};
  const bool pure = argc == 5 && std::strcmp(argv[4], "--pure") == 0;
  if ((argc != 4 && !pure) || !types.contains(argv[3])) {
    std::fprintf(stderr, "usage: %s INPUT.gguf OUTPUT.gguf F16|Q8_0|Q4_0|Q4_1|Q4_K_M [--pure]\n",
                 argv[0]);
    return 2;
  }
  llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
  llama_backend_init();
  llama_model_quantize_params params = llama_model_quantize_default_params();
  params.ftype = types.at(argv[3]);
  params.pure = pure;
  return static_cast<int>(llama_model_quantize(argv[1], argv[2], &params));
}
