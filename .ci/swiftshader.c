/* A Vulkan driver that is SwiftShader without the Vulkan memory model, so that Burn compiles its kernels to WGSL
 * there instead of SPIR-V: SwiftShader can't run one of the SPIR-V kernels that a matrix product may take, gives
 * zeros and no error, and which kernel is taken is decided by timing. With WGSL every kernel runs.
 * Built by .ci/software-vulkan, which gives LIBRARY. No Vulkan headers are needed: what is used of them is here. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef void (*Function)(void);

/* What every Vulkan structure that can be chained begins with. */
typedef struct Chained {
    uint32_t type;
    struct Chained *next;
} Chained;

/* VkPhysicalDeviceVulkanMemoryModelFeatures. */
enum { MEMORY_MODEL = 1000211000 };
typedef struct {
    Chained head;
    uint32_t model, device_scope, availability_visibility_chains;
} MemoryModel;

static Function (*instance_proc)(void *, const char *);
static Function (*device_proc)(void *, const char *);
static int32_t (*negotiate)(uint32_t *);
static void (*features2)(void *, Chained *);

static void load(void) {
    if (instance_proc) return;
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!library) abort();
    *(void **)&instance_proc = dlsym(library, "vk_icdGetInstanceProcAddr");
    *(void **)&device_proc = dlsym(library, "vk_icdGetPhysicalDeviceProcAddr");
    *(void **)&negotiate = dlsym(library, "vk_icdNegotiateLoaderICDInterfaceVersion");
}

static void without_memory_model(void *device, Chained *features) {
    features2(device, features);
    for (Chained *at = features->next; at; at = at->next) {
        if (at->type == MEMORY_MODEL) ((MemoryModel *)at)->model = 0;
    }
}

static Function mine(const char *name, Function theirs) {
    if (theirs && !strncmp(name, "vkGetPhysicalDeviceFeatures2", 28)) {
        *(Function *)&features2 = theirs;
        return (Function)without_memory_model;
    }
    return theirs;
}

int32_t vk_icdNegotiateLoaderICDInterfaceVersion(uint32_t *version) {
    load();
    return negotiate(version);
}

Function vk_icdGetInstanceProcAddr(void *instance, const char *name) {
    load();
    return mine(name, instance_proc(instance, name));
}

Function vk_icdGetPhysicalDeviceProcAddr(void *instance, const char *name) {
    load();
    return mine(name, device_proc(instance, name));
}
