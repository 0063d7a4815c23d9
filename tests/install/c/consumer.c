/* Uses the library as a stranger does: kvcache.h alone. */
#include <kvcache.h>
#include <stdio.h>

int main(void) {
  kvcache_model *model = NULL;
  const kvcache_status status = kvcache_model_load("no such directory", NULL, &model);
  puts(kvcache_status_name(status));
  kvcache_model_destroy(model);
  return 0;
}
