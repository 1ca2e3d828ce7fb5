UPDATE ir_module_module
   SET latest_version = '18.0.1.0'
 WHERE state = 'installed';
