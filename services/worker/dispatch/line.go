package dispatch

import "time"

// line is an endpoint's deliveries that wait to begin, first come first served.
type line struct {
	head, tail *Delivery
	len        int
}

func (l *line) push(d *Delivery) {
	d.place = inLine
	if l.tail == nil {
		l.head = d
	} else {
		l.tail.next = d
	}
	l.tail = d
	l.len++
}

// pop takes the first out. The line must not be empty.
func (l *line) pop() *Delivery {
	d := l.head
	l.unlink(nil, d)
	return d
}

// remove takes out a delivery that stands in the line.
func (l *line) remove(d *Delivery) {
	var before *Delivery
	for at := l.head; at != d; at = at.next {
		before = at
	}
	l.unlink(before, d)
}

func (l *line) unlink(before, d *Delivery) {
	if before == nil {
		l.head = d.next
	} else {
		before.next = d.next
	}
	if l.tail == d {
		l.tail = before
	}
	d.place, d.next = outside, nil
	l.len--
}

// youth counts the attempts that began a moment ago.
type youth struct {
	max   int
	count int
	order []*Delivery // by when they began; some of them have ended
}

// room reports whether another may begin.
func (y *youth) room(now time.Time) bool {
	for len(y.order) > 0 && (!y.order[0].young || now.Sub(y.order[0].began) >= youngFor) {
		y.end(y.order[0])
		y.order[0] = nil
		y.order = y.order[1:]
	}
	return y.count < y.max
}

func (y *youth) add(d *Delivery, now time.Time) {
	d.began, d.young = now, true
	y.count++
	y.order = append(y.order, d)
}

// end stops counting d, if it still counts.
func (y *youth) end(d *Delivery) {
	if d.young {
		d.young = false
		y.count--
	}
}
