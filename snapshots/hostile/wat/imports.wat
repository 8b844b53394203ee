;; Imports a function of the host's interface that there isn't.
;; Must: it is refused.
(import "retort:loss/host@1.0.0-secret" (instance (export "files" (func (param "path" string) (result (list u8))))))
