// All that device code uses of the driver API header, which NVRTC cannot compile.
#pragma once
typedef struct alignas(64) CUtensorMap_st {
  unsigned long long opaque[16];
} CUtensorMap;
