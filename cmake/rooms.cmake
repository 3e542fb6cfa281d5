# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: the devstamp authors
#
# How a room, a program and a unit test are declared.

add_library(ds_flags INTERFACE)
target_compile_options(ds_flags INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wsign-conversion -Wcast-qual -Wstrict-prototypes -Wmissing-prototypes -Wvla
  -Wformat=2 -fstack-protector-strong -fno-common)
if(CMAKE_C_COMPILER_ID MATCHES "Clang")
  # protobuf-c's initialisers cast the const away from its empty string; gcc knows that they come from a system header.
  target_compile_options(ds_flags INTERFACE -Wno-cast-qual)
endif()
if(DS_WERROR)
  target_compile_options(ds_flags INTERFACE -Werror)
endif()
if(DS_SANITIZE)
  target_compile_options(ds_flags INTERFACE -fsanitize=${DS_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(ds_flags INTERFACE -fsanitize=${DS_SANITIZE})
elseif(CMAKE_BUILD_TYPE STREQUAL "Release" OR CMAKE_BUILD_TYPE STREQUAL "RelWithDebInfo")
  target_compile_definitions(ds_flags INTERFACE _FORTIFY_SOURCE=2)
endif()
if(DS_COVERAGE)
  target_compile_options(ds_flags INTERFACE --coverage)
  target_link_options(ds_flags INTERFACE --coverage)
endif()
if(DS_FUZZERS) # the rooms count what they execute; without that libFuzzer searches blindly
  target_compile_options(ds_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
target_compile_definitions(ds_flags INTERFACE _GNU_SOURCE)

# ds_room(NAME [USES room...] [LIBS lib...]): every .c beside the calling file is the static library ds_NAME; headers are
# included as "src/base/err.h", "agent/core/port.h": from the top of the tree.
function(ds_room name)
  cmake_parse_arguments(R "" "" "USES;LIBS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.c)
  list(FILTER sources EXCLUDE REGEX "_main\\.c$")
  if(NOT sources)
    return()
  endif()
  add_library(ds_${name} STATIC ${sources})
  target_include_directories(ds_${name} PUBLIC ${PROJECT_SOURCE_DIR})
  target_link_libraries(ds_${name} PUBLIC ds_flags)
  foreach(room ${R_USES})
    target_link_libraries(ds_${name} PUBLIC ds_${room})
  endforeach()
  target_link_libraries(ds_${name} PUBLIC ${R_LIBS})
endfunction()

# ds_test(NAME USES room...): tests/unit/test_NAME.c with cmocka.
function(ds_test name)
  cmake_parse_arguments(T "" "" "USES;LIBS" ${ARGN})
  add_executable(test_${name} ${CMAKE_CURRENT_SOURCE_DIR}/test_${name}.c)
  foreach(room ${T_USES})
    target_link_libraries(test_${name} PRIVATE ds_${room})
  endforeach()
  target_link_libraries(test_${name} PRIVATE ds_flags cmocka ${T_LIBS})
  target_compile_definitions(test_${name} PRIVATE DS_TEST_DATA="${PROJECT_SOURCE_DIR}/tests/data")
  add_test(NAME ${name} COMMAND test_${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT 300)
endfunction()
