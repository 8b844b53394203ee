;; Describes itself by text that is no JSON of the interface.
;; Must: it is refused.
(data $description (i32.const 65536) "{\"interface\":1,\"sdk\":\"by hand\",\"losses\":\"losses\"}")
