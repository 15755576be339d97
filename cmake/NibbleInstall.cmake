# cmake --install and find_package(nibble).
include(CMakePackageConfigHelpers)
get_property(libraries GLOBAL PROPERTY NIBBLE_LIBRARIES)
set_target_properties(nibble_soci PROPERTIES EXPORT_NAME soci)
if(NIBBLE_SANITIZE)
  # Objects that were built with a sanitizer do not link without its runtime.
  target_link_options(nibble_core INTERFACE $<INSTALL_INTERFACE:-fsanitize=${NIBBLE_SANITIZE}>)
endif()
install(TARGETS ${libraries} nibble_soci EXPORT nibbleTargets FILE_SET HEADERS)
if(TARGET nibble_main)
  install(TARGETS nibble_main RUNTIME)
endif()
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/nibble)
install(EXPORT nibbleTargets NAMESPACE nibble:: DESTINATION ${config_dir})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/nibbleConfig.cmake.in
  ${PROJECT_BINARY_DIR}/nibbleConfig.cmake INSTALL_DESTINATION ${config_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/nibbleConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/nibbleConfig.cmake
  ${PROJECT_BINARY_DIR}/nibbleConfigVersion.cmake DESTINATION ${config_dir})
