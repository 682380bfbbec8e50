# What `make install` lays down: the program with man pages, completion and a unit for systemd;
# libdial as one static and one shared library made of the modules' objects, the public headers,
# dial.pc for pkg-config and dialConfig.cmake for find_package(dial).
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(dial_objects)
foreach(module ${DIAL_MODULES})
  get_target_property(type dial_${module} TYPE)
  if(type STREQUAL "STATIC_LIBRARY")
    list(APPEND dial_objects $<TARGET_OBJECTS:dial_${module}>)
  endif()
endforeach()

add_library(dial_static STATIC ${dial_objects})
add_library(dial_shared SHARED ${dial_objects})
foreach(kind static shared)
  set_target_properties(dial_${kind} PROPERTIES OUTPUT_NAME dial LINKER_LANGUAGE C)
  # for their libraries; of dial's own archives nothing is left to take
  target_link_libraries(dial_${kind} PRIVATE dial_flags ${DIAL_LIBRARIES})
endforeach()
# Everything is hidden but DIAL_API, so the shared library shows dial_* alone.
set_target_properties(dial_shared PROPERTIES VERSION ${PROJECT_VERSION}
                                             SOVERSION ${PROJECT_VERSION_MAJOR})
target_link_options(dial_shared PRIVATE -Wl,--no-undefined
                    -Wl,--version-script=${CMAKE_CURRENT_LIST_DIR}/dial.map)
set_target_properties(dial_shared PROPERTIES LINK_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/dial.map)

set(DIAL_PC_REQUIRES "jansson libpcre2-8 libutf8proc libcrypto")
set(DIAL_PC_LIBS "-fopenmp -lm")
if(ZLIB_FOUND)
  string(APPEND DIAL_PC_REQUIRES " zlib")
endif()
if(CURL_FOUND) # by name, as libmicrohttpd below
  string(PREPEND DIAL_PC_LIBS "-lcurl ")
endif()
if(SQLITE_FOUND)
  string(APPEND DIAL_PC_REQUIRES " sqlite3")
endif()
if(ZSTD_FOUND)
  string(APPEND DIAL_PC_REQUIRES " libzstd")
endif()
if(SNAPPY_FOUND)
  string(APPEND DIAL_PC_REQUIRES " snappy")
endif()
if(MICROHTTPD_FOUND) # by name: its own file asks for the archives of a whole TLS library
  string(PREPEND DIAL_PC_LIBS "-lmicrohttpd ")
endif()
if(DNNL_FOUND)
  string(PREPEND DIAL_PC_LIBS "-ldnnl ")
endif()
if(MPI_C_FOUND)
  list(JOIN MPI_C_LIBRARIES " " libraries)
  string(APPEND DIAL_PC_LIBS " ${libraries}")
endif()
# lib/x86_64-linux-gnu/pkgconfig -> ../../..
string(REGEX REPLACE "[^/]+" ".." DIAL_PC_UP "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
configure_file(${CMAKE_CURRENT_LIST_DIR}/dial.pc.in ${PROJECT_BINARY_DIR}/dial.pc @ONLY)

set(DIAL_SHARED ${CMAKE_INSTALL_LIBDIR}/libdial.so.${PROJECT_VERSION})
set(DIAL_STATIC ${CMAKE_INSTALL_LIBDIR}/libdial.a)
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/dialConfig.cmake.in
    ${PROJECT_BINARY_DIR}/dialConfig.cmake
    INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/dial
    PATH_VARS CMAKE_INSTALL_INCLUDEDIR DIAL_SHARED DIAL_STATIC)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/dialConfigVersion.cmake
    COMPATIBILITY SameMinorVersion) # 0.x: a minor version may change the interface
install(FILES ${PROJECT_BINARY_DIR}/dialConfig.cmake ${PROJECT_BINARY_DIR}/dialConfigVersion.cmake
        DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/dial)

# The program prints its own pages.
set(DIAL_PAGES ${PROJECT_BINARY_DIR}/pages)
add_custom_command(OUTPUT ${DIAL_PAGES}/man1/dial.1
                   COMMAND sh ${PROJECT_SOURCE_DIR}/tools/pages.sh $<TARGET_FILE:dial> ${DIAL_PAGES}
                   DEPENDS dial ${PROJECT_SOURCE_DIR}/tools/pages.sh VERBATIM)
add_custom_target(dial_pages ALL DEPENDS ${DIAL_PAGES}/man1/dial.1)
install(DIRECTORY ${DIAL_PAGES}/man1 DESTINATION ${CMAKE_INSTALL_MANDIR})
install(FILES ${DIAL_PAGES}/bash/dial
        DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES ${DIAL_PAGES}/zsh/_dial DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
install(FILES ${DIAL_PAGES}/fish/dial.fish
        DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
configure_file(${CMAKE_CURRENT_LIST_DIR}/dial@.service.in ${PROJECT_BINARY_DIR}/dial@.service @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/dial@.service DESTINATION lib/systemd/system)

if(TARGET dial)
  install(TARGETS dial RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
install(TARGETS dial_static dial_shared
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/dial DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${PROJECT_BINARY_DIR}/dial.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
