;; Imports the environment of the process from WASI.
;; Must: it is refused: the sandbox offers nothing but the host's interface.
(import "wasi:cli/environment@0.2.0" (instance (export "get-environment" (func (result (list (tuple string string)))))))
