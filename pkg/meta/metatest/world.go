package metatest

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"github.com/primezap/primezap/pkg/messaging"
)

// World is who is there.
type World struct {
	Numbers  []Number
	Pages    []Page
	Accounts []Account
	Users    []User
	People   []Person
}

// Number is a phone number of a business on WhatsApp.
type Number struct {
	ID      string `json:"id"`
	WABA    string `json:"wabaId"`
	Phone   string `json:"phone"` // E.164 with its plus sign
	Name    string `json:"name"`  // as verified
	Quality string `json:"quality,omitempty"`
	Token   string `json:"token"` // of a system user; several numbers may share one
}

// Page is a page on Facebook, which writes by Messenger.
type Page struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Category string `json:"category,omitempty"`
	Token    string `json:"token,omitempty"` // that nobody had to allow; empty: users who log in get others alone
}

// Account is an Instagram account that is linked to a page and used with its token.
type Account struct {
	ID        string `json:"id"`
	Username  string `json:"username"`
	Name      string `json:"name,omitempty"`
	Followers int    `json:"followers,omitempty"`
	Sparse    bool   `json:"sparse,omitempty"` // nothing but id and username is told of it
	Page      string `json:"pageId"`
}

// User is somebody who logs in at Facebook.
type User struct {
	ID    string   `json:"id"`
	Name  string   `json:"name"`
	Email string   `json:"email,omitempty"`
	Token string   `json:"token,omitempty"`   // that they have without a login; it may do all, until they say otherwise
	Pages []string `json:"pageIds,omitempty"` // on which they have a role

	// Tasks are what they may do, by page: for those that are not there, all.
	Tasks map[string][]string `json:"tasks,omitempty"`
}

// Tasks of pages.
var (
	allTasks    = []string{"ADVERTISE", "ANALYZE", "CREATE_CONTENT", "MESSAGING", "MODERATE", "MANAGE"}
	actingTasks = allTasks[2:] // for which a page's token is given
)

// tasks are what a user may do for a page.
func (u User) tasks(page string) []string {
	if tasks, ok := u.Tasks[page]; ok {
		return tasks
	}
	return allTasks
}

// acts reports whether a user may do something for a page that its token is for.
func (u User) acts(page string) bool {
	return slices.ContainsFunc(u.tasks(page), func(task string) bool { return slices.Contains(actingTasks, task) })
}

// Person is one who writes to businesses. A channel has its own names of a person,
// any of which may be missing.
type Person struct {
	Phone        string `json:"phone,omitempty"`        // WhatsApp: E.164 with its plus sign
	WaID         string `json:"waId,omitempty"`         // WhatsApp: where it differs from the phone's digits
	UserID       string `json:"userId,omitempty"`       // WhatsApp: business-scoped, BR.1
	ParentUserID string `json:"parentUserId,omitempty"` // WhatsApp: of the portfolio above
	PSID         string `json:"psid,omitempty"`         // Messenger
	IGSID        string `json:"igsid,omitempty"`        // Instagram
	Name         string `json:"name,omitempty"`
	Username     string `json:"username,omitempty"`
	Unreachable  bool   `json:"unreachable,omitempty"` // WhatsApp: sends are accepted and fail with 131026
}

// waID is the phone number as WhatsApp writes it: digits alone.
func (p Person) waID() string { return cmp.Or(p.WaID, strings.TrimPrefix(p.Phone, "+")) }

// scopedID is the id on Messenger or Instagram.
func (p Person) scopedID(channel messaging.Channel) string {
	if channel == messaging.Instagram {
		return p.IGSID
	}
	return p.PSID
}

// The world to try things out with. Its ids and tokens never change.
const (
	DefaultNumberID  = "800000000000001"
	DefaultWABA      = "700000000000001"
	DefaultPageID    = "100000000000001"
	DefaultAccountID = "17841400000000001"
	DefaultUserID    = "777000000000001"
	DefaultManagerID = "777000000000002" // has no token but by a login
	DefaultAgencyID  = "777000000000003" // the same, with pages of many others
	DefaultGuestID   = "777000000000004" // the same, without any page

	DefaultNumberToken = "EAASIMULATEDNUMBER"
	DefaultPageToken   = "EAASIMULATEDPAGE"
	DefaultUserToken   = "EAASIMULATEDUSER"
)

// Further pages of the second user.
const (
	filialPageID     = "100000000000002" // without an Instagram account
	advertisedPageID = "100000000000003" // whose token they do not get
)

// DefaultWorld is a business with one of each; a second user with two pages more, an
// agency that has a role on these and thirty others, and a user with none; and three
// people: one with a phone number, one known by user ids alone, one who cannot be
// reached.
func DefaultWorld() World {
	world := World{
		Numbers: []Number{{
			ID: DefaultNumberID, WABA: DefaultWABA, Phone: "+551140000001", Name: "Loja Exemplo", Quality: "GREEN", Token: DefaultNumberToken,
		}},
		Pages: []Page{
			{ID: DefaultPageID, Name: "Loja Exemplo", Category: "Store", Token: DefaultPageToken},
			{ID: filialPageID, Name: "Loja Exemplo Filial", Category: "Store"},
			{ID: advertisedPageID, Name: "Ofertas Exemplo", Category: "Store"},
		},
		Accounts: []Account{{ID: DefaultAccountID, Username: "loja.exemplo", Name: "Loja Exemplo", Followers: 1234, Page: DefaultPageID}},
		Users: []User{
			{ID: DefaultUserID, Name: "Olívia Pereira", Email: "olivia@example.com", Token: DefaultUserToken, Pages: []string{DefaultPageID}},
			{
				ID: DefaultManagerID, Name: "Rui Barros", Email: "rui@example.com", Pages: []string{DefaultPageID, filialPageID, advertisedPageID},
				Tasks: map[string][]string{advertisedPageID: {"ADVERTISE", "ANALYZE"}},
			},
		},
		People: []Person{
			{Phone: "+5511900000001", UserID: "BR.1001", PSID: "5001000000000001", IGSID: "6001000000000001", Name: "Ana Souza", Username: "ana.souza"},
			{UserID: "BR.1002", PSID: "5001000000000002", IGSID: "6001000000000002", Name: "Bruno Conceição", Username: "bruno.c"},
			{Phone: "+5511900000003", UserID: "BR.1003", Name: "Carla Dias", Unreachable: true},
		},
	}
	agency := world.AddUserWithPages(User{ID: DefaultAgencyID, Name: "Marina Lopes", Email: "marina@example.com"}, Mix{Pages: 30, Instagram: 12, NoToken: 2})
	agency.Pages = append([]string{DefaultPageID, filialPageID}, agency.Pages...)
	world.Users = put(world.Users, agency, func(u User) string { return u.ID })
	world.Users = append(world.Users, User{ID: DefaultGuestID, Name: "Téo Nunes"})
	return world
}

// AddNumber adds a phone number, or replaces the one with its id.
func (s *Server) AddNumber(n Number) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.world.Numbers = put(s.world.Numbers, n, func(n Number) string { return n.ID })
}

// AddPage adds a page, or replaces the one with its id.
func (s *Server) AddPage(p Page) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.world.Pages = put(s.world.Pages, p, func(p Page) string { return p.ID })
}

// AddAccount adds an Instagram account, or replaces the one with its id.
func (s *Server) AddAccount(a Account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.world.Accounts = put(s.world.Accounts, a, func(a Account) string { return a.ID })
}

// AddUser adds a user, or replaces the one with their id.
func (s *Server) AddUser(u User) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.world.Users = put(s.world.Users, u, func(u User) string { return u.ID })
}

// AddPerson adds a person. Of several with the same name on a channel the first one
// is found.
func (s *Server) AddPerson(p Person) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.world.People = append(s.world.People, p)
}

// World is a copy of who is there now.
func (s *Server) World() World {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.world.clone()
}

// clone is a copy that shares no list with the world.
func (w World) clone() World {
	w.Numbers, w.Pages, w.Accounts = slices.Clone(w.Numbers), slices.Clone(w.Pages), slices.Clone(w.Accounts)
	w.Users, w.People = slices.Clone(w.Users), slices.Clone(w.People)
	return w
}

func put[T any](list []T, one T, id func(T) string) []T {
	if i := slices.IndexFunc(list, func(other T) bool { return id(other) == id(one) }); i >= 0 {
		list[i] = one
		return list
	}
	return append(list, one)
}

func find[T any](list []T, fits func(T) bool) (found T, ok bool) {
	if i := slices.IndexFunc(list, fits); i >= 0 {
		return list[i], true
	}
	return found, false
}

func (w World) number(id string) (Number, bool) {
	return find(w.Numbers, func(n Number) bool { return n.ID == id })
}

func (w World) page(id string) (Page, bool) {
	return find(w.Pages, func(p Page) bool { return p.ID == id })
}

func (w World) account(id string) (Account, bool) {
	return find(w.Accounts, func(a Account) bool { return a.ID == id })
}

// linked is the Instagram account of a page.
func (w World) linked(page string) (Account, bool) {
	return find(w.Accounts, func(a Account) bool { return a.Page == page })
}

func (w World) user(id string) (User, bool) {
	return find(w.Users, func(u User) bool { return u.ID == id })
}

// person is whom a name means on a channel: a phone number or user id on WhatsApp,
// else an id. One who is unknown is made up, always the same for the same name.
func (w World) person(channel messaging.Channel, name string) Person {
	known, ok := find(w.People, func(p Person) bool {
		if channel != messaging.WhatsApp {
			return p.scopedID(channel) == name
		}
		return p.UserID == name || p.Phone != "" && (p.Phone == name || p.waID() == strings.TrimPrefix(name, "+"))
	})
	switch {
	case ok:
		return known
	case channel == messaging.Instagram:
		return Person{IGSID: name}
	case channel == messaging.Facebook:
		return Person{PSID: name}
	case isUserID(name):
		return Person{UserID: name}
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // never fails
	return Person{Phone: "+" + strings.TrimPrefix(name, "+"), UserID: fmt.Sprintf("BR.%d", h.Sum64()%1e15)}
}

// isUserID reports whether a name is a business-scoped user id: a country, a dot.
func isUserID(name string) bool {
	country, rest, ok := strings.Cut(name, ".")
	return ok && len(country) == 2 && rest != ""
}
