// Go's net/http: one client, and as many goroutines as requests in flight.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

type order struct {
	URL        string  `json:"url"`
	APIVersion string  `json:"api_version"`
	Token      string  `json:"token"`
	Body       string  `json:"body"`
	Records    int64   `json:"records"`
	InFlight   int     `json:"in_flight"`
	CAFile     *string `json:"ca_file"`
}

type told struct {
	Count   int     `json:"count"`
	Seconds float64 `json:"seconds"`
	P50     float64 `json:"p50"`
	P99     float64 `json:"p99"`
}

func main() {
	var given order
	if err := json.Unmarshal([]byte(os.Args[1]), &given); err != nil {
		log.Fatal(err)
	}
	client := &http.Client{Transport: transport(given)}
	took := make([]float64, given.Records)
	var next int64 = -1
	var workers sync.WaitGroup
	began := time.Now()
	for i := 0; i < given.InFlight; i++ {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for {
				number := atomic.AddInt64(&next, 1)
				if number >= given.Records {
					return
				}
				started := time.Now()
				put(client, given, number)
				took[number] = time.Since(started).Seconds()
			}
		}()
	}
	workers.Wait()
	seconds := time.Since(began).Seconds()
	sort.Float64s(took)
	percentile := func(part float64) float64 { return took[int(part*float64(len(took)-1))] }
	line, err := json.Marshal(told{len(took), seconds, percentile(0.5), percentile(0.99)})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(line))
}

func transport(given order) *http.Transport {
	made := &http.Transport{MaxIdleConns: given.InFlight, MaxIdleConnsPerHost: given.InFlight, MaxConnsPerHost: given.InFlight}
	if given.CAFile != nil {
		pem, err := os.ReadFile(*given.CAFile)
		if err != nil {
			log.Fatal(err)
		}
		authorities := x509.NewCertPool()
		authorities.AppendCertsFromPEM(pem)
		made.TLSClientConfig = &tls.Config{RootCAs: authorities}
	}
	return made
}

func put(client *http.Client, given order, number int64) {
	url := fmt.Sprintf(
		"%s/installations/%08x-0000-4000-8000-000000000000?api-version=%s", given.URL, number, given.APIVersion)
	request, err := http.NewRequest(http.MethodPut, url, strings.NewReader(given.Body))
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("Authorization", given.Token)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("x-ms-version", given.APIVersion)
	answer, err := client.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		log.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		log.Fatalf("the answer was %s", answer.Status)
	}
}
