find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
foreach(dep "PROTOBUF_C libprotobuf-c" "CURL libcurl" "URING liburing" "ARCHIVE libarchive" "ZSTD libzstd"
            "CRYPTO libcrypto" "SQLITE sqlite3" "JANSSON jansson" "CYAML libcyaml" "MHD libmicrohttpd" "ISAL libisal")
  separate_arguments(dep)
  list(GET dep 0 prefix)
  list(GET dep 1 module)
  pkg_check_modules(${prefix} REQUIRED IMPORTED_TARGET ${module})
endforeach()

# Not pkg_check_modules(grpc): its list names fifty abseil libraries that we never call, and
# find_package(gRPC) wants a C++ plug-in. SYSTEM, because its headers are not clean under our warnings.
find_library(GRPC_LIB NAMES grpc_unsecure REQUIRED)
find_library(GPR_LIB NAMES gpr REQUIRED)
find_path(GRPC_INC grpc/grpc.h REQUIRED)
add_library(grpc_core INTERFACE)
target_include_directories(grpc_core SYSTEM INTERFACE ${GRPC_INC})
target_link_libraries(grpc_core INTERFACE ${GRPC_LIB} ${GPR_LIB})
