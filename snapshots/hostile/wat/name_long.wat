;; Calls its loss by a name of seventy letters.
;; Must: it is refused.
(data $description (i32.const 65536) "{\"interface\":1,\"sdk\":\"by hand\",\"losses\":[{\"name\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\",\"doc\":\"Attacks the host.\"}]}")
