;; Has two thousand instances of a module.
;; Must: it isn't started.
(core module $one (func (export "f")))
(repeat 2000 (core instance (instantiate $one)))
