# Warnings, hardening and sanitizers, for every target of ours.
add_compile_definitions(_GNU_SOURCE MODELSTAGE_VERSION="${PROJECT_VERSION}")
add_compile_options(
  -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings -Wpointer-arith -Wformat=2
  -Wvla -Wundef -fno-common -fstack-protector-strong
  $<$<BOOL:${WERROR}>:-Werror>)
# What is installed is the same wherever it was built: __FILE__ and debug information name files from the top of the tree.
# The later option is tried first, so the build folder may lie in the tree. Debuggers of other builds want whole paths.
if(CMAKE_BUILD_TYPE STREQUAL "Release")
  add_compile_options(-ffile-prefix-map=${PROJECT_SOURCE_DIR}/= -ffile-prefix-map=${PROJECT_BINARY_DIR}=build)
endif()
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
include(CheckPIESupported)
check_pie_supported()
add_link_options(-Wl,-z,relro,-z,now -Wl,--as-needed)
if(SANITIZE)
  add_compile_definitions(SANITIZED)
  add_compile_options(-fsanitize=${SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g)
  add_link_options(-fsanitize=${SANITIZE})
elseif(NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
  add_compile_options(-D_FORTIFY_SOURCE=2)
endif()
if(FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
if(COVERAGE)
  add_compile_options(--coverage -O0)
  add_link_options(--coverage)
endif()

# room(NAME LIBS ...): the folder's sources as one static library that may use only what is named.
# Rooms point down: tools > csi > stager > cache > oci > base > proto (tools/check-rooms holds them to it).
function(room name)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.c)
  if(NOT sources)
    add_library(${name} INTERFACE)
    return()
  endif()
  add_library(${name} STATIC ${sources})
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(${name} PUBLIC ${ARGN})
endfunction()
