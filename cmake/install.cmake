# What `make install` lays down: the program, libdial as one static and one shared library made of
# the modules' objects, the public headers, and dial.pc for pkg-config.
include(GNUInstallDirs)

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
target_link_options(dial_shared PRIVATE -Wl,--no-undefined)

set(DIAL_PC_REQUIRES "jansson libpcre2-8 libutf8proc libcrypto")
set(DIAL_PC_LIBS "-fopenmp -lm")
if(ZLIB_FOUND)
  string(APPEND DIAL_PC_REQUIRES " zlib")
endif()
if(SQLITE_FOUND)
  string(APPEND DIAL_PC_REQUIRES " sqlite3")
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

if(TARGET dial)
  install(TARGETS dial RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
install(TARGETS dial_static dial_shared
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/dial DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${PROJECT_BINARY_DIR}/dial.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
