# Every dependency is found here, once. docs/dependencies.md says what each is for.
find_package(PkgConfig REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS C)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson>=2.12)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(CRYPTO REQUIRED IMPORTED_TARGET libcrypto)
pkg_check_modules(ZLIB IMPORTED_TARGET zlib)
pkg_check_modules(ZSTD IMPORTED_TARGET libzstd)
pkg_check_modules(SNAPPY IMPORTED_TARGET snappy)
pkg_check_modules(MICROHTTPD IMPORTED_TARGET libmicrohttpd>=0.9.71)
pkg_check_modules(SQLITE IMPORTED_TARGET sqlite3)
pkg_check_modules(CURL IMPORTED_TARGET libcurl>=7.66)
pkg_check_modules(CMOCKA IMPORTED_TARGET cmocka)

# Several processes (docs/scaling.md). DIAL_MPI=OFF leaves it out where it is installed.
option(DIAL_MPI "run on several processes, if MPI is there" ON)
if(DIAL_MPI)
  find_package(MPI 3.1 QUIET COMPONENTS C)
endif()

# oneDNN has no pkg-config file; distributions carry versions 2 and 3.
find_path(DNNL_INCLUDE oneapi/dnnl/dnnl.h)
find_library(DNNL_LIBRARY dnnl)
if(DNNL_INCLUDE AND DNNL_LIBRARY)
  set(DNNL_FOUND TRUE)
  file(STRINGS "${DNNL_INCLUDE}/oneapi/dnnl/dnnl_version.h" DNNL_VERSION_LINES
       REGEX "define DNNL_VERSION_(MAJOR|MINOR|PATCH) ")
  string(REGEX REPLACE "[^0-9;]" "" DNNL_VERSION "${DNNL_VERSION_LINES}")
  string(REPLACE ";" "." DNNL_VERSION "${DNNL_VERSION}")
endif()

function(dial_print_summary)
  message(STATUS "dial ${PROJECT_VERSION}: ${CMAKE_C_COMPILER_ID} ${CMAKE_C_COMPILER_VERSION}, "
                 "${CMAKE_BUILD_TYPE}")
  message(STATUS "  required  jansson ${JANSSON_VERSION}, pcre2 ${PCRE2_VERSION}, "
                 "utf8proc ${UTF8PROC_VERSION}, libcrypto ${CRYPTO_VERSION}, OpenMP")
  foreach(row
      "DNNL|oneDNN|fast matrix products (without it: plain C, many times slower)"
      "MPI_C|MPI|several processes (mpirun, srun)"
      "ZLIB|zlib|reading .gz data files, gzip in Parquet"
      "ZSTD|libzstd|reading .zst data files, zstd in Parquet"
      "SNAPPY|snappy|reading Parquet as most programs write it"
      "MICROHTTPD|libmicrohttpd|dial serve"
      "SQLITE|SQLite|dial sweep, dial serve --monitor"
      "CURL|libcurl|dial pull"
      "CMOCKA|cmocka|the tests")
    string(REPLACE "|" ";" row "${row}")
    list(GET row 0 var)
    list(GET row 1 name)
    list(GET row 2 what)
    if(${var}_FOUND)
      message(STATUS "  found     ${name} ${${var}_VERSION}: ${what}")
    else()
      message(STATUS "  missing   ${name}: ${what}")
    endif()
  endforeach()
endfunction()
