;; Gives a hyperparameter a default beyond its range.
;; Must: it is refused.
(data $description (i32.const 65536) "{\"interface\":1,\"sdk\":\"by hand\",\"losses\":[{\"name\":\"attack\",\"doc\":\"Attacks the host.\",\"hyper\":[{\"name\":\"n\",\"doc\":\"n\",\"kind\":\"float\",\"default\":5.0,\"range\":{\"max\":1.0}}]}]}")
