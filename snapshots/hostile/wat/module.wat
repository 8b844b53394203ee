;; Is a core module, and no component.
;; Must: it is refused.
(module (func (export "loss") (param i32) (result i64) (i64.const 0)))
