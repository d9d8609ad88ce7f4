// client URL REQUESTS CLIENTS PAUSE METHODS [shared]
//
// CLIENTS goroutines send REQUESTS requests in all and read the answers. METHODS are taken in turn: GET, which Go repeats by itself where it
// may, POST, which is not repeated. Between two of its requests each pauses: at random, PAUSE on average, as nobody's requests come by
// the clock. Each has a pool of its own unless they share one; the transport is as Go's DefaultTransport in what it does with idle
// connections. Prints what became of the requests.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

func transport() *http.Transport {
	return &http.Transport{IdleConnTimeout: 90 * time.Second, MaxIdleConns: 100}
}

func main() {
	url, methods := os.Args[1], strings.Split(os.Args[5], ",")
	requests, clients := number(os.Args[2]), number(os.Args[3])
	pause, err := time.ParseDuration(os.Args[4])
	if err != nil {
		panic(err)
	}
	shared := transport()
	var lock sync.Mutex
	right, lost, refused := 0, map[string]int{}, map[string]int{}
	var wait sync.WaitGroup
	for number := 0; number < clients; number++ {
		client := &http.Client{Transport: shared, Timeout: 30 * time.Second}
		if len(os.Args) < 7 {
			client.Transport = transport()
		}
		random := rand.New(rand.NewSource(int64(number) + 1))
		wait.Add(1)
		go func() {
			defer wait.Done()
			for left := requests / clients; left > 0; left-- {
				time.Sleep(time.Duration(random.ExpFloat64() * float64(pause)))
				status, why, err := ask(client, methods[left%len(methods)], url)
				lock.Lock()
				switch {
				case err != nil:
					lost[name(err)]++
				case status != http.StatusOK:
					refused[strings.TrimSpace(fmt.Sprintf("%d %s", status, why))]++
				default:
					right++
				}
				lock.Unlock()
			}
		}()
	}
	wait.Wait()
	json.NewEncoder(os.Stdout).Encode(map[string]any{
		"requests": requests / clients * clients, "right": right, "lost": lost, "refused": refused,
	})
}

// ask gives the status of a whole answer, and what Proxy-Status says of it.
func ask(client *http.Client, method, url string) (int, string, error) {
	var body io.Reader
	if method == "POST" {
		body = strings.NewReader(`{"action": "deckNames", "version": 6}`)
	}
	request, err := http.NewRequest(method, url, body)
	if err != nil {
		panic(err)
	}
	answer, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	if _, err := io.ReadAll(answer.Body); err != nil {
		return 0, "", err
	}
	return answer.StatusCode, why(answer.Header.Get("Proxy-Status")), nil
}

// why gives the error parameter of RFC 9209.
func why(status string) string {
	for _, part := range strings.Split(status, ";") {
		part = strings.TrimSpace(part)
		if strings.HasPrefix(part, "error=") {
			return strings.TrimPrefix(part, "error=")
		}
	}
	return ""
}

func name(err error) string {
	switch {
	case errors.Is(err, syscall.ECONNRESET):
		return "ECONNRESET"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "ECONNREFUSED"
	case errors.Is(err, syscall.EPIPE):
		return "EPIPE"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "cut short"
	case errors.Is(err, io.EOF):
		return "EOF"
	}
	// Without the addresses, which differ each time.
	parts := strings.Split(err.Error(), ": ")
	return strings.Join(parts[1:], ": ")
}

func number(text string) int {
	number, err := strconv.Atoi(text)
	if err != nil {
		panic(err)
	}
	return number
}
