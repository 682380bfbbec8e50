# One static library a folder of src/, in the order in which includes may point: a module links
# the modules to its left, and nothing else.
add_library(dial_flags INTERFACE)
target_include_directories(dial_flags INTERFACE ${PROJECT_SOURCE_DIR}/include
                                                ${PROJECT_SOURCE_DIR}/src)
target_compile_definitions(dial_flags INTERFACE _GNU_SOURCE DIAL_VERSION="${PROJECT_VERSION}")
target_compile_options(dial_flags INTERFACE
    -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes
    -Wno-sign-conversion -fno-math-errno -ffp-contract=off
    # a loop that clang cannot vectorise is no fault; sizes are enum constants here
    $<$<C_COMPILER_ID:Clang>:-Wno-pass-failed -Wno-enum-float-conversion>)
if(DIAL_WERROR)
  target_compile_options(dial_flags INTERFACE -Werror)
endif()
# A target with DIAL_UNINSTRUMENTED goes without. It is asked here, of the target that is compiled:
# inherited options stand behind a target's own, so a flag that takes them back would lose.
set(instrument)
if(DIAL_SANITIZE)
  list(APPEND instrument -fsanitize=${DIAL_SANITIZE} -fno-omit-frame-pointer
                         -fno-sanitize-recover=all)
  target_link_options(dial_flags INTERFACE -fsanitize=${DIAL_SANITIZE})
endif()
if(DIAL_FUZZ)
  list(APPEND instrument -fsanitize=fuzzer-no-link)
endif()
target_compile_options(dial_flags INTERFACE
    "$<$<NOT:$<BOOL:$<TARGET_PROPERTY:DIAL_UNINSTRUMENTED>>>:${instrument}>")

set(DIAL_MODULES) # all of them, for cmake/install.cmake
set(DIAL_LIBRARIES PkgConfig::JANSSON PkgConfig::CRYPTO PkgConfig::PCRE2 PkgConfig::UTF8PROC
                   OpenMP::OpenMP_C m)

function(dial_module name)
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${name}/*.c)
  if(NOT sources)
    add_library(dial_${name} INTERFACE)
    target_link_libraries(dial_${name} INTERFACE dial_flags ${ARGN})
  else()
    add_library(dial_${name} STATIC ${sources})
    target_link_libraries(dial_${name} PUBLIC dial_flags ${ARGN})
  endif()
  set(DIAL_MODULES ${DIAL_MODULES} ${name} PARENT_SCOPE)
endfunction()

dial_module(base PkgConfig::JANSSON PkgConfig::CRYPTO m)
dial_module(text dial_base PkgConfig::PCRE2 PkgConfig::UTF8PROC)
dial_module(data dial_text)
dial_module(tensor dial_data)
dial_module(ref dial_tensor OpenMP::OpenMP_C)
dial_module(cpu dial_tensor OpenMP::OpenMP_C)
dial_module(model dial_ref dial_cpu)
dial_module(align dial_model)
dial_module(dist dial_align)
dial_module(train dial_dist)
dial_module(eval dial_train)
dial_module(report dial_eval)
dial_module(serve dial_report)
dial_module(api dial_serve)

if(MPI_C_FOUND)
  target_link_libraries(dial_dist PRIVATE MPI::MPI_C)
  target_compile_definitions(dial_dist PRIVATE DIAL_MPI)
  list(APPEND DIAL_LIBRARIES MPI::MPI_C)
endif()
if(ZLIB_FOUND)
  target_link_libraries(dial_flags INTERFACE PkgConfig::ZLIB)
  target_compile_definitions(dial_flags INTERFACE DIAL_ZLIB)
endif()
foreach(library ZSTD SNAPPY) # data/input.c, data/unpack.c
  if(${library}_FOUND)
    target_link_libraries(dial_data PUBLIC PkgConfig::${library})
    target_compile_definitions(dial_data PUBLIC DIAL_${library})
    list(APPEND DIAL_LIBRARIES PkgConfig::${library})
  endif()
endforeach()
if(CURL_FOUND) # fetch.c alone
  target_link_libraries(dial_api PUBLIC PkgConfig::CURL)
  target_compile_definitions(dial_api PRIVATE DIAL_CURL)
  list(APPEND DIAL_LIBRARIES PkgConfig::CURL)
endif()
if(MICROHTTPD_FOUND) # http.c alone
  target_link_libraries(dial_serve PUBLIC PkgConfig::MICROHTTPD)
  target_compile_definitions(dial_serve PRIVATE DIAL_MICROHTTPD)
  list(APPEND DIAL_LIBRARIES PkgConfig::MICROHTTPD)
endif()
if(SQLITE_FOUND) # report/store.c and serve/traffic.c
  target_link_libraries(dial_report PUBLIC PkgConfig::SQLITE)
  target_compile_definitions(dial_report PRIVATE DIAL_SQLITE)
  target_compile_definitions(dial_serve PRIVATE DIAL_SQLITE)
  list(APPEND DIAL_LIBRARIES PkgConfig::SQLITE)
endif()
if(DNNL_FOUND)
  target_include_directories(dial_flags SYSTEM INTERFACE ${DNNL_INCLUDE})
  target_compile_definitions(dial_flags INTERFACE DIAL_DNNL)
  target_link_libraries(dial_flags INTERFACE ${DNNL_LIBRARY})
endif()

# Fuzzing is for parsers. Instrumented kernels find nothing there, and clang takes minutes for one
# of them.
if(DIAL_FUZZ)
  get_target_property(type dial_cpu TYPE)
  if(type STREQUAL "STATIC_LIBRARY")
    set_target_properties(dial_cpu PROPERTIES DIAL_UNINSTRUMENTED ON)
  endif()
endif()

# The program. All but main.c is a library, so that tests and fuzz targets can call it; what it
# includes (the public header alone) is held by tools/lint.sh.
file(GLOB cmd_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/cmd/*.c)
list(REMOVE_ITEM cmd_sources ${PROJECT_SOURCE_DIR}/src/cmd/main.c)
add_library(dial_cmd STATIC ${cmd_sources})
target_link_libraries(dial_cmd PUBLIC dial_api)
add_executable(dial ${PROJECT_SOURCE_DIR}/src/cmd/main.c)
target_link_libraries(dial PRIVATE dial_cmd)

# The tokenizer alone, timed beside huggingface/tokenizers (bench/peers.sh).
if(DIAL_TESTS)
  add_executable(bench_tokenize ${PROJECT_SOURCE_DIR}/bench/tokenize.c)
  target_link_libraries(bench_tokenize PRIVATE dial_model)
  # The shift monitor without the server: false alarms, and requests to an alarm (docs/serving.md).
  add_executable(bench_false_alarms ${PROJECT_SOURCE_DIR}/bench/false_alarms.c)
  target_link_libraries(bench_false_alarms PRIVATE dial_api)
endif()

# The commit, for --version --json. A new commit configures again, and compiles main.c alone.
if(EXISTS ${PROJECT_SOURCE_DIR}/.git/logs/HEAD)
  execute_process(COMMAND git rev-parse --short=12 HEAD WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
                  OUTPUT_VARIABLE DIAL_GIT OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(DIAL_GIT)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS
                 ${PROJECT_SOURCE_DIR}/.git/logs/HEAD)
    set_source_files_properties(${PROJECT_SOURCE_DIR}/src/cmd/main.c PROPERTIES
                                COMPILE_DEFINITIONS DIAL_GIT="${DIAL_GIT}")
  endif()
endif()
